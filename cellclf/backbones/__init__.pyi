from .backbone import Backbone as Backbone
from .measure import Speed as Speed
from .measure import Speeds as Speeds
from .measure import measure_backbones as measure_backbones
from .spec import BackboneSpec as BackboneSpec
from .tensors import read_tensors as read_tensors

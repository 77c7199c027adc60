from .backbone import Backbone as Backbone
from .spec import BackboneSpec as BackboneSpec
from .tensors import read_tensors as read_tensors

from .adaptation import write_adaptation as write_adaptation
from .compare import Candidate as Candidate
from .compare import Comparison as Comparison
from .compare import Versus as Versus
from .gallery import write_gallery as write_gallery
from .map_page import write_map as write_map
from .robustness import add_robustness as add_robustness

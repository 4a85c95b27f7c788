"""Networks by name: a pure-data specification first, a torch module only on ``build``."""

from tinynet_core.networks.family import NAMES, SCALABLE, Family, base_of, family, network
from tinynet_core.networks.spec import Head, Network

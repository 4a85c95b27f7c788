"""The torch modules of the specifications in ``tinynet_core.networks``; imported only when one is built."""

"""Container images: names, a client of the registry API v2, and a writer of reproducible OCI images."""

from tidegate.adapters.images.oci import ImageConfig, Layer, write_image, write_layer
from tidegate.adapters.images.reference import Reference
from tidegate.adapters.images.registry import Credentials, Manifest, Registry

__all__ = [
    "Credentials",
    "ImageConfig",
    "Layer",
    "Manifest",
    "Reference",
    "Registry",
    "write_image",
    "write_layer",
]

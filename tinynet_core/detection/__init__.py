"""SSDLite detectors on the networks of this package: model, training, evaluation as COCO does it."""

"""Training one network: the recipe as data, the engine, augmentation, averaging and checkpoints."""

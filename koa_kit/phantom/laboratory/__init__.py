"""A widget in which a phantom's signs are moved by hand."""

"""The maintainers' instruments: how fast is a step, and how real is a phantom?"""

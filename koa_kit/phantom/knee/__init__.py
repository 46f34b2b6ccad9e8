"""A phantom knee: the person's bones, the exposure, the signs of disease, the rules from signs to grade."""

"""CLIP-KOA, taught and analysed."""

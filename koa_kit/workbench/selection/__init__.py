"""Which knees count."""

"""What readers say of knees, and how well they agree."""

"""Signs from severity; patients with two knees, later visits and readers' grades."""

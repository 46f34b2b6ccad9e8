"""What training needs of tensors and modules; nothing here knows a knee or a configuration."""

"""The notebooks' session, and the series run, checked and shown as pages."""

"""Plain pages for people: projects, runs, one run. No script, nothing from elsewhere."""

"""Plain pages for people: projects, runs, artifacts. No script, nothing from elsewhere."""

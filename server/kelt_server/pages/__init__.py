"""Plain pages for people: projects and runs, one run. Rendered here, no script, nothing from elsewhere."""

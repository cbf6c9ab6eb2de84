"""What people look at: tables, figures, differences, the page."""

"""Pages, figures and tables that people look at."""

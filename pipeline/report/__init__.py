"""`python -m pipeline.report`: scores of runs beside the published ones, as tables, figures and one page."""

"""The report of a learning-rate study: its history files, verdicts, figures and pages."""

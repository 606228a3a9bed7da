"""Tables, figures and pages that a run leaves."""

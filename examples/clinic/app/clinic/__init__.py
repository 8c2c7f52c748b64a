"""A patient-risk service: one logistic model behind HTTPS."""

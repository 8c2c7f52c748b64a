"""Services: broker, appraisal, storage; each is rest > service > settings."""

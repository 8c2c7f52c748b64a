"""What containers hold of the EPC: one folder for each Allocate answer, until no pod has its blocks any more."""

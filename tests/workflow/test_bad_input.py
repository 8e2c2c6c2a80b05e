"""Wrong parameters are refused with the field; wrong surroundings in one sentence."""

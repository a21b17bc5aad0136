"""Occluders made for a whole batch at once, on the device where the pictures are."""

"""Lists of items for many users, with the model of a run or of a servable."""

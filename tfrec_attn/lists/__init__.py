"""Lists of items for many users at once, from a run or from a servable."""

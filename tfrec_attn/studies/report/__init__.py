"""The HTML report of finished runs."""

# By which a page is known to be ours.
BEGINNING = "<!doctype html>\n<!-- tfrec_attn.report -->"

"""The HTML report of finished runs."""

# Identifies a page that the report may replace.
BEGINNING = "<!doctype html>\n<!-- tfrec_attn.report -->"

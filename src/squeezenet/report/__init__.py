"""Reports: one self-contained HTML file that opens offline, on a phone and on paper."""

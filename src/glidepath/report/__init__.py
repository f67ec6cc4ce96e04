"""The report: answers from tables, and one self-contained page that shows them."""

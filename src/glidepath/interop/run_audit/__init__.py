"""What is wrong with a log: small functions from arrays to what was found, each for one fault.

Positions are updates done, rising unless said otherwise. Nothing here changes a number.
"""

"""A warm process that has imported the heavy libraries once and forks a child per job.

`import torch` and the first use of its parts cost 1.4 to 2.6 CPU seconds, more than training the smallest cells; what
the analysis imports costs about as much, more than most of its jobs. The server pays them once; a job is then a client
of a few milliseconds. Without a server, on a cluster node say, the client becomes the plain command: same results, more
seconds.
"""

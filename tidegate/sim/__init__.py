"""The embedded cluster: for trying Tidegate out and for testing pipelines. Not for production.

It speaks the part of the Kubernetes API we use and runs pods as local processes: no authentication, no isolation, one
machine. Whatever runs here must run the same on a real cluster; where the two differ, this one is wrong.
"""

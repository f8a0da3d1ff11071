"""Deep Compression (Han et al. 2015, 1510.00149): pruning, then weights that share a codebook. Each stage works alone.

>>> prune(network, {"conv1": 0.5}); share(network, {"conv1": 6})         # doctest: +SKIP
"""

"""Design space exploration (section 5 of the paper): trials, sweeps, a search, and their results.

>>> from squeezenet.explore.trial import Trial, costs                        # doctest: +SKIP
>>> costs(trial).macs                                                        # doctest: +SKIP
98304
"""

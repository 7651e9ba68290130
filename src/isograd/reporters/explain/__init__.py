"""The derivation as a page: the product of factors in a chain of neurons, to play with.

One offline file, English and Chinese. The mathematics lies in scripts that know nothing of a page
(`activations.js`, `chain.js`, `random.js`, `wide.js`, `training.js`); the others show it.
"""

from isograd.reporters.explain.page import page

__all__ = ["page"]

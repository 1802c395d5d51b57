"""The nouns: keys, desired, observed, recorded, actions. Values only, no behaviour that acts."""

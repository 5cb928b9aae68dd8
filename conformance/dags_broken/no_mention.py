# A file that never says the word, so it isn't even read: 1 / 0
raise RuntimeError('not to be imported')

.PHONY: docs
docs:  ## build the site in build/site; a warning or a broken link is an error
	python -m sphinx -W --keep-going -E -q docs build/site

"""`tidegate demo`: the whole path on one machine, told as it happens. Real parts, a small story.

`world` starts everything, `repositories` makes the commits, `visitor` is the traffic, `scene` reads what is
true, `story` tells it chapter by chapter, `table` sums it up, `ending` checks that it ended as it should.
"""

"""Engines that carry a plan over several workers: processes of one machine, or a Ray cluster.

`schedule` says which unit comes next, `driver` keeps workers busy and outlives them, `remote` is what runs
in a worker's process, `parcel` takes values with paths there. `processes` and `ray_cluster` start workers;
`cells` puts a plan of cells on all that.
"""

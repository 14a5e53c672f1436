-- Opening and movements of the backlog bridge make its closing, which opens the month after.
-- severity: blocking
select *
from (
    select *, lag(closing) over (partition by currency order by month) as closing_before
    from kantata_marts.backlog_bridge
) bridge
where opening + new + increased - decreased - invoiced - deleted <> closing
    or opening <> coalesce(closing_before, 0)

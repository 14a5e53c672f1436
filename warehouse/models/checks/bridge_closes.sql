-- In the backlog bridge, opening plus movements equals closing, and closing opens the next month.
-- severity: blocking
select *
from (
    select
        b.*,
        lag(b.closing) over (partition by b.currency order by b.month) as closing_before,
        c.iso_code is not null as is_known
    from kantata_marts.backlog_bridge b
    left join kantata.currencies c on c.iso_code = b.currency
) bridge
where opening + new + increased - decreased - invoiced - deleted is distinct from closing
    or (is_known and (closing is null or opening is distinct from coalesce(closing_before, 0)))

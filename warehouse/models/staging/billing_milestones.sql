-- Milestones that are not deleted, with their amount in money.
-- grain: id
select
    m.id,
    m.title,
    m.workspace_id,
    m.story_id,
    m.billing_type,
    m.date_to_invoice,
    m.currency,
    m.amount_in_cents,
    m.amount_in_cents::decimal(20, 0) * coalesce(u.minor_unit, c.unit_per_subunit) as amount,
    m.invoice_id,
    m.created_at,
    m.updated_at,
    m.observed_at,
    m.access_lost_at
from kantata.billing_milestones m
left join kantata.currencies c on c.iso_code = m.currency
left join (
    -- Milestones whose last version had another minor unit than their currency has now.
    select v.id, v.minor_unit
    from kantata.billing_milestone_versions v
    join (
        -- Only these ids: the last versions of all milestones would not fit into DuckDB's memory.
        select id, max(version) as version
        from kantata.billing_milestone_versions
        where id in (
            select id from kantata.billing_milestone_versions where minor_unit is not null
        )
        group by id
    ) l on l.id = v.id and l.version = v.version
    where v.minor_unit is not null
) u on u.id = m.id
where m.deleted_at is null

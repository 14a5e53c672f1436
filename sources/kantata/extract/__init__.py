"""What a run reads: full scan or event feed, and which milestones are gone."""

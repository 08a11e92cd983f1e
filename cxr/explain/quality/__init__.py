"""How far a heatmap can be trusted: faithfulness, randomisation, agreement, localisation."""

// A Log Analytics workspace, where no existing one is given.

@description('Name of the workspace.')
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Days that rows are kept.')
@minValue(30)
@maxValue(730)
param retentionInDays int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionInDays
    features: {
      enableLogAccessUsingOnlyResourcePermissions: true
      // Rows come through data collection rules and diagnostic settings; neither needs the workspace's keys.
      disableLocalAuth: true
    }
  }
}

@description('Resource id of the workspace.')
output resourceId string = workspace.id

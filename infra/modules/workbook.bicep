// The workbook: alerts over time, rules, delays, inventory and the health of the detector.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Resource id of the workspace that the workbook reads.')
param workspaceResourceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  // The name of a workbook has to be a GUID.
  name: guid(resourceGroup().id, 'azure-automation-detector')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Azure Automation detector'
    category: 'workbook'
    sourceId: workspaceResourceId
    serializedData: loadTextContent('../workbook.json')
  }
}

@description('Resource id of the workbook.')
output resourceId string = workbook.id

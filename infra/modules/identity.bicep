// The one identity of the detector. Every permission in this template is given to it and to nothing else.

@description('Name of the user-assigned managed identity.')
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id, which the app and Key Vault references name.')
output resourceId string = identity.id

@description('Object id, which role assignments name.')
output principalId string = identity.properties.principalId

@description('Client id, which the SDKs and the host ask for a token with.')
output clientId string = identity.properties.clientId

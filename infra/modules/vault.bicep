// The secrets of destinations. A secret that is given is written; one that is not given is left as it is.

@description('Name of the vault.')
param name string

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Object id of the identity that reads secrets.')
param principalId string

@description('Resource id of the workspace that keeps who read which secret.')
param workspaceResourceId string

@description('Enabled, or Disabled where private endpoints are the only way in.')
@allowed(['Enabled', 'Disabled'])
param publicNetworkAccess string

@description('URL of a Teams Workflows webhook; empty: not written.')
@secure()
param teamsWebhookUrl string = ''

@description('Signing secret of the webhook, whsec_...; empty: not written.')
@secure()
param webhookSecret string = ''

@description('Integration key of PagerDuty; empty: not written.')
@secure()
param pagerDutyRoutingKey string = ''

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  // checkov:skip=CKV_AZURE_109:Denied where privateNetworking is on; the default needs no virtual network, and access is by role
  // checkov:skip=CKV_AZURE_189:Disabled where privateNetworking is on; the default needs no virtual network, and access is by role
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    // It cannot be taken back: after `azd down` the name stays taken for 90 days.
    enablePurgeProtection: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicNetworkAccess == 'Disabled' ? 'Deny' : 'Allow'
    }
  }
}

resource teamsWebhookUrlEntry 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(teamsWebhookUrl)) {
  // checkov:skip=CKV_AZURE_114:It is set; checkov does not look into a conditional resource
  // checkov:skip=CKV_AZURE_41:The URL has no end of its own; an expired secret would silence the destination
  parent: vault
  name: 'teams-webhook-url'
  tags: tags
  properties: {
    value: teamsWebhookUrl
    contentType: 'URL of a Teams Workflows webhook'
  }
}

resource webhookSecretEntry 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(webhookSecret)) {
  // checkov:skip=CKV_AZURE_114:It is set; checkov does not look into a conditional resource
  // checkov:skip=CKV_AZURE_41:It is rotated with the receiver; an expired secret would silence the destination
  parent: vault
  name: 'webhook-secret'
  tags: tags
  properties: {
    value: webhookSecret
    contentType: 'Signing secret of the webhook (Standard Webhooks)'
  }
}

resource pagerDutyRoutingKeyEntry 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(pagerDutyRoutingKey)) {
  // checkov:skip=CKV_AZURE_114:It is set; checkov does not look into a conditional resource
  // checkov:skip=CKV_AZURE_41:The key has no end of its own; an expired secret would silence the destination
  parent: vault
  name: 'pagerduty-routing-key'
  tags: tags
  properties: {
    value: pagerDutyRoutingKey
    contentType: 'Integration key of PagerDuty (Events API v2)'
  }
}

resource auditLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'detector-vault-audit'
  properties: {
    workspaceId: workspaceResourceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6' // Key Vault Secrets User

resource readsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, principalId, keyVaultSecretsUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

@description('Resource id of the vault.')
output resourceId string = vault.id

@description('Name of the vault.')
output name string = vault.name

@description('URI of the vault, with a slash at its end.')
output uri string = vault.properties.vaultUri
